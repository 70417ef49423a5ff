"""Finding conversations. Titles today; case is folded here, because SQLite folds only ASCII."""


def title_matches(title: str, query: str) -> bool:
    """Whether `title` holds every word of `query`, in any case and order."""
    folded = title.casefold()
    return all(word in folded for word in query.casefold().split())
