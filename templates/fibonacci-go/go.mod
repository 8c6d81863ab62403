module fibonacci

go 1.21
