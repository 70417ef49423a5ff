"""How the schema came to be, step by step. `alembic` finds its way here through `env.py`."""
