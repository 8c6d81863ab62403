"""The OCI image of a Keep's host process, written without a container engine: layers, and what goes into them."""
