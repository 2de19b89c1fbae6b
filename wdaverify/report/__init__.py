"""Results as text, JSON and (later) pages."""
