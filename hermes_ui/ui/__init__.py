"""What people see: one module for each page or panel."""
