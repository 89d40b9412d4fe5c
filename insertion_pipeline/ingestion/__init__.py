"""Landing, reading, conforming: from the bytes that a partner sent to typed rows and findings."""
