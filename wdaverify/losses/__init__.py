"""The losses, one file each: words, what answers it, pieces, and values at points (docs/adr/0021)."""
