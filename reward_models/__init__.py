"""Visual reward models: one file each."""
