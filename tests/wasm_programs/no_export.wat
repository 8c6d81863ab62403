(module
  (memory (export "") 1))
