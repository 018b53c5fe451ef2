"""What a batch is compared with: one file per contestant, each started and asked the same way."""
