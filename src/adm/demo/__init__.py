"""the shipped models -> guided samples at several scales, judged, and a report."""
