"""What long runs keep on disk: proven facts in SQLite, and nothing of how they were searched for (docs/journal.md)."""
