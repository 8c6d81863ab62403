"""The places where Keeps are started. One module per target."""
