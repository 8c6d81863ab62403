(module
  (func $deepest
    unreachable)
  (func $middle
    call $deepest)
  (func $start (export "_start")
    call $middle))
