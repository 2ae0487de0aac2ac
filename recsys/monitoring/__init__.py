"""What is watched from night to night."""
