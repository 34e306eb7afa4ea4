package follower

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of docs/feed.md.
const (
	maxPageBytes = 16 << 20
	maxEntries   = 65536
	maxTime      = 253402300799
	maxText      = 512
)

// page is a page of the feed as JSON. Every member is a pointer, so that a missing one is not taken for 0 or false.
type page struct {
	Cursor        *string  `json:"cursor"`
	Complete      *bool    `json:"complete"`
	FromStart     *bool    `json:"from_start"`
	AgeMs         *uint64  `json:"age_ms"`
	PrunedThrough *uint64  `json:"pruned_through"`
	Issuer        *string  `json:"issuer"`
	Entries       *[]entry `json:"entries"`
}

type entry struct {
	Issuer      *string `json:"issuer"`
	Kind        *string `json:"kind"`
	ID          *string `json:"id"`
	Name        *string `json:"name"`
	Value       *string `json:"value"`
	IssuedUntil *uint64 `json:"issued_until"`
	LapsesAt    *uint64 `json:"lapses_at"`
}

// parsePage returns the page, or an error if it has anything that docs/feed.md does not describe. `after` is the cursor of the request.
func parsePage(body []byte, after string) (*page, error) {
	// encoding/json replaces bytes that are not UTF-8, and an id that was replaced would revoke nothing.
	if !utf8.Valid(body) {
		return nil, errors.New("the page is not UTF-8")
	}
	if loneSurrogate(string(body)) {
		return nil, errors.New("the page has half a surrogate pair")
	}
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("the page is not valid JSON: %w", err)
	}
	if p.Cursor == nil || p.Complete == nil || p.FromStart == nil || p.AgeMs == nil || p.PrunedThrough == nil || p.Issuer == nil || p.Entries == nil {
		return nil, errors.New("the page lacks a member")
	}
	if *p.PrunedThrough > maxTime || !validText(*p.Issuer) {
		return nil, errors.New("the page has an invalid time or issuer")
	}
	if len(*p.Entries) > maxEntries {
		return nil, errors.New("the page has too many entries")
	}
	log, position, err := splitCursor(*p.Cursor)
	if err != nil {
		return nil, err
	}
	if !*p.FromStart {
		oldLog, oldPosition, err := splitCursor(after)
		if err != nil || log != oldLog || position < oldPosition {
			return nil, errors.New("the page does not continue the last one")
		}
		if !*p.Complete && position == oldPosition {
			return nil, errors.New("the page neither advances nor is complete")
		}
	}
	for i := range *p.Entries {
		if err := (*p.Entries)[i].validate(); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

func (e *entry) validate() error {
	if e.Issuer == nil || !validText(*e.Issuer) || e.Kind == nil || e.LapsesAt == nil || *e.LapsesAt > maxTime {
		return errors.New("an entry lacks a member, or one is invalid")
	}
	switch *e.Kind {
	case "token", "session", "subject", "key":
		if e.ID == nil || !validText(*e.ID) {
			return fmt.Errorf("an entry of kind %q has no valid id", *e.Kind)
		}
	case "everything":
	case "claim":
		if e.Name == nil || e.Value == nil || !validClaim(*e.Name, *e.Value) {
			return errors.New("an entry of kind \"claim\" has no valid name and value")
		}
	default:
		return fmt.Errorf("an unknown kind %q: this follower is too old for the node", *e.Kind)
	}
	if *e.Kind == "subject" || *e.Kind == "everything" || *e.Kind == "claim" {
		if e.IssuedUntil == nil || *e.IssuedUntil > maxTime {
			return fmt.Errorf("an entry of kind %q has no valid issued_until", *e.Kind)
		}
	}
	return nil
}

func splitCursor(cursor string) (log string, position uint64, err error) {
	i := strings.LastIndexByte(cursor, '.')
	if i < 0 || !validText(cursor[:i]) {
		return "", 0, errors.New("invalid cursor")
	}
	position, err = strconv.ParseUint(cursor[i+1:], 10, 64)
	return cursor[:i], position, err
}

func validText(text string) bool {
	return 1 <= len(text) && len(text) <= maxText
}

// validClaim reports whether tokens can be revoked by a claim with this name and value.
func validClaim(name, value string) bool {
	switch name {
	case "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "type", "fresh":
		return false
	}
	for i := 0; i < len(name); i++ {
		if name[i] < 0x21 || name[i] > 0x7e {
			return false
		}
	}
	return 1 <= len(name) && len(name) <= 128 && value != "" && validText(name+separator+value)
}

// loneSurrogate reports whether a string of `json` has \ud800 to \udfff outside a pair, which encoding/json replaces too.
func loneSurrogate(json string) bool {
	high := false
	for i := 0; i < len(json); i++ {
		code := uint64(0)
		if json[i] == '\\' {
			if i+5 < len(json) && json[i+1] == 'u' {
				code, _ = strconv.ParseUint(json[i+2:i+6], 16, 16)
				i += 4
			}
			i++
		}
		low := 0xdc00 <= code && code < 0xe000
		if low != high {
			return true
		}
		high = 0xd800 <= code && code < 0xdc00
	}
	return high
}
