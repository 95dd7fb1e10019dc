"""Programs to read and to run from a checkout; not part of the installed packages."""
