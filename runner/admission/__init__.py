"""What runs share in one state folder, granted in the journal's transactions: breakers and turns."""
