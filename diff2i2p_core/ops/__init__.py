"""Operations on points and depth: a plain torch reference, and a GPU kernel where that is faster."""
