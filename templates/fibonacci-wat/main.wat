;; Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))

  ;; The memory, one page of 65536 bytes:
  ;;      0  number of arguments      4  bytes that they take
  ;;      8  what fd_write is given: address and length, and at 16 how much it wrote
  ;;    100  texts
  ;;    512  the line that is printed, written from its end at 640 to the front
  ;;   1024  addresses of the arguments, at most 1024 of them; 8192 the arguments themselves
  (memory (export "memory") 1)
  (data (i32.const 100) "usage: fibonacci N, with N from 0 to 93\n")
  (data (i32.const 160) "fibonacci(")
  (data (i32.const 180) ") = ")

  (func (export "_start") (local $n i32) (local $at i32)
    (local.set $n (call $argument))
    (if (i32.gt_u (local.get $n) (i32.const 93)) ;; the last one that 64 bits hold
      (then
        (call $print (i32.const 2) (i32.const 100) (i32.const 40))
        (call $proc_exit (i32.const 2))))
    (i32.store8 (i32.const 639) (i32.const 10)) ;; the line feed
    (local.set $at (call $digits (call $fibonacci (local.get $n)) (i32.const 639)))
    (local.set $at (i32.sub (local.get $at) (i32.const 4)))
    (memory.copy (local.get $at) (i32.const 180) (i32.const 4))
    (local.set $at (call $digits (i64.extend_i32_u (local.get $n)) (local.get $at)))
    (local.set $at (i32.sub (local.get $at) (i32.const 10)))
    (memory.copy (local.get $at) (i32.const 160) (i32.const 10))
    (call $print (i32.const 1) (local.get $at) (i32.sub (i32.const 640) (local.get $at))))

  (func $fibonacci (param $n i32) (result i64) (local $a i64) (local $b i64) (local $sum i64)
    (local.set $b (i64.const 1))
    (block $done
      (loop $next
        (br_if $done (i32.eqz (local.get $n)))
        (local.set $sum (i64.add (local.get $a) (local.get $b)))
        (local.set $a (local.get $b))
        (local.set $b (local.get $sum))
        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
        (br $next)))
    (local.get $a))

  ;; The number that the only argument says, or 94 if there is none.
  (func $argument (result i32) (local $at i32) (local $digit i32) (local $n i32)
    (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
    (if (i32.or (i32.ne (i32.load (i32.const 0)) (i32.const 2)) ;; the program's own name is the first
                (i32.gt_u (i32.load (i32.const 4)) (i32.const 50000)))
      (then (return (i32.const 94))))
    (drop (call $args_get (i32.const 1024) (i32.const 8192)))
    (local.set $at (i32.load (i32.const 1028)))
    (if (i32.eqz (i32.load8_u (local.get $at)))
      (then (return (i32.const 94))))
    (loop $next
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $digit) (i32.const 9))
        (then (return (i32.const 94))))
      (local.set $n (i32.add (i32.mul (local.get $n) (i32.const 10)) (local.get $digit)))
      (if (i32.gt_u (local.get $n) (i32.const 93))
        (then (return (i32.const 94))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.load8_u (local.get $at))))
    (local.get $n))

  ;; Writes a number in decimal, its last digit before $end, and returns where its first digit is.
  (func $digits (param $number i64) (param $end i32) (result i32)
    (loop $next
      (local.set $end (i32.sub (local.get $end) (i32.const 1)))
      (i64.store8 (local.get $end) (i64.add (i64.rem_u (local.get $number) (i64.const 10)) (i64.const 48)))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i32.eqz (i64.eqz (local.get $number)))))
    (local.get $end))

  (func $print (param $fd i32) (param $address i32) (param $length i32)
    (i32.store (i32.const 8) (local.get $address))
    (i32.store (i32.const 12) (local.get $length))
    (drop (call $fd_write (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 16)))))
