"""The first tables: conversations, messages, seals, runs, events, persona versions and heads."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
RUNNING = sa.text("status = 'running'")


def upgrade() -> None:
    """Create everything."""
    _create_conversations()
    _create_messages()
    _create_runs()
    _create_events()
    _create_personas()


def downgrade() -> None:
    """Drop everything."""
    for table in ("persona_heads", "persona_versions", "events", "runs", "seals", "messages"):
        op.drop_table(table)
    op.drop_table("conversations")


def _create_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("title_folded", sa.Text, nullable=False),
        sa.Column("persona_slug", sa.Text, nullable=False),
        sa.Column("persona_digest", sa.Text, nullable=False),
        sa.Column("leaf_id", sa.Text),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
    )
    op.create_index("conversations_by_activity", "conversations", ["owner", "updated_at", "id"])


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("parent_id", sa.Text, sa.ForeignKey("messages.id")),
        sa.Column("depth", sa.Integer, nullable=False),
        sa.Column("skip_id", sa.Text, nullable=False),
        sa.Column("skip_depth", sa.Integer, nullable=False),
        sa.Column("last_leaf_id", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("finish_reason", sa.Text),
        sa.Column("model_id", sa.Text),
        sa.Column("prompt_tokens", sa.Integer),
        sa.Column("completion_tokens", sa.Integer),
        sa.Column("cached_tokens", sa.Integer),
        sa.Column("prefix_chars", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
        sa.Column("tool_calls", sa.JSON, nullable=False),
        sa.Column("tool_results", sa.JSON, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.CheckConstraint("role IN ('system', 'user', 'assistant', 'tool')", name="messages_role"),
    )
    op.create_index("messages_by_parent", "messages", ["conversation_id", "parent_id", "id"])
    op.create_table(
        "seals",
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id"), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("chunks", sa.JSON, nullable=False),
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("parent_id", sa.Text),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("leaf_at_start", sa.Text),
        sa.Column("server_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("stop_requested", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("heartbeat_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("reasoning", sa.Text, nullable=False),
        sa.Column("chunks", sa.JSON, nullable=False),
    )
    op.create_index(
        "runs_one_running",
        "runs",
        ["conversation_id"],
        unique=True,
        sqlite_where=RUNNING,
        postgresql_where=RUNNING,
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("conversation_id", sa.Text, sa.ForeignKey("conversations.id"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("before", sa.JSON, nullable=False),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("undone", sa.Boolean, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("events_in_order", "events", ["conversation_id", "seq"], unique=True)


def _create_personas() -> None:
    op.create_table(
        "persona_versions",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "persona_heads",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("slug", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME),
    )
