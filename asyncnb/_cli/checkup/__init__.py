"""What ``asyncnb doctor`` looks at; nothing is imported or changed for it."""
