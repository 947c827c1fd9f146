"""Published data sets as manifests: each module reads one set as it is downloaded."""
