"""What each page says, as frozen records made by pure functions. Templates only lay them out."""
