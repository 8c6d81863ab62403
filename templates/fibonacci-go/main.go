// Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it.
package main

import (
	"fmt"
	"os"
	"strconv"
)

const largest = 93 // the last one that 64 bits hold

func fibonacci(n uint64) uint64 {
	a, b := uint64(0), uint64(1)
	for ; n > 0; n-- {
		a, b = b, a+b
	}
	return a
}

func argument() (uint64, bool) {
	if len(os.Args) != 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(os.Args[1], 10, 64)
	return n, err == nil && n <= largest
}

func main() {
	n, ok := argument()
	if !ok {
		fmt.Fprintf(os.Stderr, "usage: fibonacci N, with N from 0 to %d\n", largest)
		os.Exit(2)
	}
	fmt.Printf("fibonacci(%d) = %d\n", n, fibonacci(n))
}
