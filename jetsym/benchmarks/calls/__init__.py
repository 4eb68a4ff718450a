"""Wrong calls of every public function, made of its signature: each is refused, or answered right."""
