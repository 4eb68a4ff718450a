"""Downloads: public sets of jets, published weights."""
