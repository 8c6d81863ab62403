"""The target `kubernetes`: Keeps as pods of a cluster, from typed manifests that this program or others apply."""
