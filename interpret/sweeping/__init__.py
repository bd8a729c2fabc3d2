"""Many neurons: sessions, local workers, a cluster, progress; `interpret.sweep` is their front."""
