"""What takes too long for every test run: `make rehearsal` plays accidents over and over, in at most an hour."""
