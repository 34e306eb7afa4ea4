// Command conformance answers the questions of adieu-follower-conformance: one JSON object per line in, one verdict per line out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"example.com/follower"
)

func main() {
	bound, err := strconv.Atoi(os.Getenv("ADIEU_MAX_STALENESS_MS"))
	if err != nil {
		log.Fatal(err)
	}
	f, err := follower.Follow(context.Background(), follower.Config{
		URL:          os.Getenv("ADIEU_URL"),
		Client:       os.Getenv("ADIEU_CLIENT"),
		Secret:       os.Getenv("ADIEU_SECRET"),
		MaxStaleness: time.Duration(bound) * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var question struct {
			Claims *follower.Claims `json:"claims"`
			KeyID  string           `json:"kid"`
		}
		verdict := follower.Invalid
		if json.Unmarshal(lines.Bytes(), &question) == nil && question.Claims != nil {
			question.Claims.KeyID = question.KeyID
			verdict = f.Check(question.Claims)
		}
		fmt.Printf("%q\n", verdict)
	}
}
