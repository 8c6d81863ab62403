module timestamp

go 1.21
