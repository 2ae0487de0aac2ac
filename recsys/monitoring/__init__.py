"""What users did with the lists that they were shown: outcomes by night, and tests of one variant against another."""
