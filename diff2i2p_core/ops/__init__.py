"""Operations on points and depth: a plain torch reference, with a GPU kernel beside it where that pays."""
