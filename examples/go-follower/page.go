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

// page is a page of the feed as JSON.
type page struct {
	cursor               string
	complete, fromStart  bool
	ageMs, prunedThrough uint64
	entries              []entry
}

// entry is a revocation. Its id is empty for everything, and the name and the value of a claim.
type entry struct {
	key
	name                  string // of a claim
	issuedUntil, lapsesAt uint64
}

// members are the members of a JSON object by their exact names. The fields of a struct would match names in any case.
type members map[string]json.RawMessage

// read decodes the members with these names. Each must be there, and not null.
func (m members) read(into map[string]any) error {
	for name, value := range into {
		text, known := m[name]
		if !known || string(text) == "null" {
			return fmt.Errorf("%q is missing", name)
		}
		if err := json.Unmarshal(text, value); err != nil {
			return fmt.Errorf("invalid %q: %w", name, err)
		}
	}
	return nil
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
	var (
		all    members
		p      page
		issuer string
		bound  uint64
	)
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("the page is not a JSON object: %w", err)
	}
	if err := all.read(map[string]any{
		"cursor": &p.cursor, "complete": &p.complete, "from_start": &p.fromStart, "age_ms": &p.ageMs,
		"pruned_through": &p.prunedThrough, "issuer": &issuer, "max_staleness_ms": &bound, "entries": &p.entries,
	}); err != nil {
		return nil, fmt.Errorf("an invalid page: %w", err)
	}
	if p.prunedThrough > maxTime || !validText(issuer) {
		return nil, errors.New("the page has an invalid time or issuer")
	}
	if len(p.entries) > maxEntries {
		return nil, errors.New("the page has too many entries")
	}
	log, position, err := splitCursor(p.cursor)
	if err != nil {
		return nil, err
	}
	if !p.fromStart {
		oldLog, oldPosition, err := splitCursor(after)
		if err != nil || log != oldLog || position < oldPosition {
			return nil, errors.New("the page does not continue the last one")
		}
		if !p.complete && position == oldPosition {
			return nil, errors.New("the page neither advances nor is complete")
		}
	}
	return &p, nil
}

// UnmarshalJSON reads an entry, and returns an error for one that docs/feed.md does not describe.
func (e *entry) UnmarshalJSON(text []byte) error {
	var all members
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if err := all.read(map[string]any{"issuer": &e.issuer, "kind": &e.kind, "lapses_at": &e.lapsesAt}); err != nil {
		return err
	}
	// Members of other kinds are unknown, and ignored: everything has no id, whatever its members are.
	var value string
	expiresAt := uint64(0)
	own := map[string]any{}
	switch e.kind {
	case "token":
		own["id"] = &e.id
		if known, given := all["expires_at"]; given && string(known) != "null" {
			own["expires_at"] = &expiresAt
		}
	case "session", "key":
		own["id"] = &e.id
	case "subject":
		own["id"], own["issued_until"] = &e.id, &e.issuedUntil
	case "everything":
		own["issued_until"] = &e.issuedUntil
	case "claim":
		own["name"], own["value"], own["issued_until"] = &e.name, &value, &e.issuedUntil
	default:
		return fmt.Errorf("an unknown kind %q: this follower is too old for the node", e.kind)
	}
	if err := all.read(own); err != nil {
		return fmt.Errorf("an entry of kind %q: %w", e.kind, err)
	}
	switch {
	case !validText(e.issuer) || e.lapsesAt > maxTime || e.issuedUntil > maxTime || expiresAt > maxTime:
		return errors.New("an entry has an invalid issuer or time")
	case e.kind == "claim" && !validClaim(e.name, value):
		return errors.New("an entry of kind \"claim\" has no valid name and value")
	case e.kind == "claim":
		e.id = e.name + separator + value
	case e.kind != "everything" && !validText(e.id):
		return fmt.Errorf("an entry of kind %q has no valid id", e.kind)
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
