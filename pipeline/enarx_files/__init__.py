"""Files that several processes use: written whole or not at all, and changed by one at a time."""
