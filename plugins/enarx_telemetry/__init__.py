"""Traces of the pipeline by OpenTelemetry, off unless asked for; the extra `telemetry` brings its library."""

ASKED = "ENARX_DEPLOY_TRACES"
"""The variable that asks for them: `otlp`."""
