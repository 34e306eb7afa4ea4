package main

import (
	"fmt"
	"net/http"
	"os"

	"languages/adieu"
)

func main() {
	greet := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, adieu.Subject(r)) })
	panic(http.ListenAndServe("127.0.0.1:"+os.Args[1], adieu.Protect(os.Args[2], greet)))
}
