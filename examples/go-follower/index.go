package follower

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Claims are those claims of a token that decide whether it is revoked. Verify the signature of the token first.
type Claims struct {
	Issuer    string  // iss
	ID        string  // jti
	Session   string  // sid
	Subject   string  // sub
	IssuedAt  *uint64 // iat, rounded down
	ExpiresAt *uint64 // exp, rounded down

	// All has every claim, by which the token may be revoked. Unmarshalling sets it.
	All map[string]any
	// KeyID is the `kid` in the header of the token. Without it, the revocation of a key is not noticed.
	KeyID string
}

// UnmarshalJSON reads the payload of a token. It returns an error for a claim that a node would reject.
func (c *Claims) UnmarshalJSON(payload []byte) error {
	// By their exact names: the fields of a struct would match names in any case.
	var all map[string]any
	if err := json.Unmarshal(payload, &all); err != nil {
		return err
	}
	*c = Claims{All: all, KeyID: c.KeyID}
	for name, text := range map[string]*string{"iss": &c.Issuer, "jti": &c.ID, "sid": &c.Session, "sub": &c.Subject} {
		value, given := all[name]
		if number, isNumber := value.(float64); isNumber && name == "sub" {
			value = wholeNumber(number)
		}
		if *text, _ = value.(string); given && !validText(*text) {
			return fmt.Errorf("the claim %q must be text of 1 to %d bytes", name, maxText)
		}
	}
	for name, time := range map[string]**uint64{"iat": &c.IssuedAt, "exp": &c.ExpiresAt} {
		value, given := all[name]
		if !given {
			continue
		}
		seconds, isNumber := value.(float64)
		if !isNumber || seconds < 0 || seconds > maxTime {
			return fmt.Errorf("the claim %q must be seconds from 1970 to 9999", name)
		}
		whole := uint64(seconds)
		*time = &whole
	}
	return nil
}

type key struct{ kind, issuer, id string }

// index has every revocation that is known. The caller locks.
type index struct {
	lapsesAt map[key]uint64      // of tokens, sessions and keys
	cutoffs  map[key]cutoff      // of subjects and claims, and of everything with an empty id
	names    map[string]struct{} // of the claims that have a cut-off
	pruned   uint64              // the largest pruned_through ever seen
}

// separator is between the name and the value of a claim, in one id. No name has it.
const separator = "\x1f"

type cutoff struct{ issuedUntil, lapsesAt uint64 }

// extend adds the entries of a page, and removes those of which the node says that they have lapsed.
func (x *index) extend(p *page) {
	for _, e := range p.entries {
		switch e.kind {
		case "token", "session", "key":
			x.lapsesAt[e.key] = max(x.lapsesAt[e.key], e.lapsesAt)
		case "subject", "everything", "claim":
			if e.kind == "claim" {
				x.names[e.name] = struct{}{}
			}
			c := x.cutoffs[e.key]
			x.cutoffs[e.key] = cutoff{max(c.issuedUntil, e.issuedUntil), max(c.lapsesAt, e.lapsesAt)}
		}
	}
	if p.prunedThrough <= x.pruned {
		return
	}
	x.pruned = p.prunedThrough
	for k, lapsesAt := range x.lapsesAt {
		if lapsesAt <= x.pruned {
			delete(x.lapsesAt, k)
		}
	}
	x.names = map[string]struct{}{}
	for k, c := range x.cutoffs {
		if c.lapsesAt <= x.pruned {
			delete(x.cutoffs, k)
		} else if k.kind == "claim" {
			name, _, _ := strings.Cut(k.id, separator)
			x.names[name] = struct{}{}
		}
	}
}

func (x *index) check(c *Claims) Verdict {
	for _, k := range []key{{"token", c.Issuer, c.ID}, {"session", c.Issuer, c.Session}, {"key", c.Issuer, c.KeyID}} {
		if _, known := x.lapsesAt[k]; known {
			return Revoked
		}
	}
	cutoffs := []key{{"subject", c.Issuer, c.Subject}, {"everything", c.Issuer, ""}}
	for name := range x.names {
		for _, text := range texts(c.All[name]) {
			cutoffs = append(cutoffs, key{"claim", c.Issuer, name + separator + text})
		}
	}
	for _, k := range cutoffs {
		if cut, known := x.cutoffs[k]; known && (c.IssuedAt == nil || *c.IssuedAt <= cut.issuedUntil) {
			return Revoked
		}
	}
	if *c.ExpiresAt+120 <= x.pruned {
		return Invalid
	}
	return Accepted
}

// texts returns the texts by which a claim with this value is revoked: its own, or those of its elements.
func texts(value any) []string {
	elements, isArray := value.([]any)
	if !isArray {
		elements = []any{value}
	}
	var texts []string
	for _, element := range elements {
		switch e := element.(type) {
		case string:
			texts = append(texts, e)
		case bool:
			texts = append(texts, strconv.FormatBool(e))
		case float64:
			if text := wholeNumber(e); text != "" {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

// wholeNumber returns the decimal digits of a whole number, or "" for any other number. A larger one may have been another in the token.
func wholeNumber(number float64) string {
	if number != math.Trunc(number) || math.Abs(number) >= 1<<53 {
		return ""
	}
	return strconv.FormatInt(int64(number), 10)
}

func max(a, b uint64) uint64 {
	if a > b {
		return a
	}
	return b
}
