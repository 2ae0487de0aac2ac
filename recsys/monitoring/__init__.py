"""What is watched from night to night, what users did with the lists, and tests of one variant against another."""
