"""What is measured: one file per family, found by name. A new one needs no change elsewhere."""
