"""Questions as mixed-integer linear models; no solver in sight."""
