package follower

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// Claims are those claims of a token that decide whether it is revoked. Verify the signature of the token first.
type Claims struct {
	Issuer    string   `json:"iss"`
	ID        string   `json:"jti"`
	Session   string   `json:"sid"`
	Subject   string   `json:"sub"`
	IssuedAt  *float64 `json:"iat"`
	ExpiresAt *float64 `json:"exp"`

	// All has every claim, by which the token may be revoked. Unmarshalling sets it.
	All map[string]any `json:"-"`
	// KeyID is the `kid` in the header of the token. Without it, the revocation of a key is not noticed.
	KeyID string `json:"-"`
}

// UnmarshalJSON reads the payload of a token.
func (c *Claims) UnmarshalJSON(payload []byte) error {
	type named Claims
	if err := json.Unmarshal(payload, (*named)(c)); err != nil {
		return err
	}
	return json.Unmarshal(payload, &c.All)
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
	for _, e := range *p.Entries {
		k := key{kind: *e.Kind, issuer: *e.Issuer}
		if e.ID != nil {
			k.id = *e.ID
		}
		switch k.kind {
		case "token", "session", "key":
			x.lapsesAt[k] = max(x.lapsesAt[k], *e.LapsesAt)
		case "subject", "everything", "claim":
			if k.kind == "claim" {
				k.id = *e.Name + separator + *e.Value
				x.names[*e.Name] = struct{}{}
			}
			c := x.cutoffs[k]
			x.cutoffs[k] = cutoff{max(c.issuedUntil, *e.IssuedUntil), max(c.lapsesAt, *e.LapsesAt)}
		}
	}
	if *p.PrunedThrough <= x.pruned {
		return
	}
	x.pruned = *p.PrunedThrough
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
		if cut, known := x.cutoffs[k]; known && (c.IssuedAt == nil || *c.IssuedAt < float64(cut.issuedUntil+1)) {
			return Revoked
		}
	}
	if *c.ExpiresAt+120 <= float64(x.pruned) {
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
			// A larger number may have been another one in the token.
			if e == math.Trunc(e) && math.Abs(e) < 1<<53 {
				texts = append(texts, strconv.FormatInt(int64(e), 10))
			}
		}
	}
	return texts
}

func max(a, b uint64) uint64 {
	if a > b {
		return a
	}
	return b
}
