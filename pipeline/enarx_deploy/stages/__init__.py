"""The default stages: one module per stage hook, each of which chooses a provider and lets it do the work."""
