"""The kinds of Keeps. One module per hardware target."""
