"""The Keep's image: a kernel, an initramfs and a command line, made from pinned inputs, and what they measure to."""
