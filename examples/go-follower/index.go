package follower

// Claims are those claims of a token that decide whether it is revoked. Verify the signature of the token first.
type Claims struct {
	Issuer    string   `json:"iss"`
	ID        string   `json:"jti"`
	Session   string   `json:"sid"`
	Subject   string   `json:"sub"`
	IssuedAt  *float64 `json:"iat"`
	ExpiresAt *float64 `json:"exp"`
}

type key struct{ kind, issuer, id string }

// index has every revocation that is known. The caller locks.
type index struct {
	lapsesAt map[key]uint64 // of tokens and sessions
	cutoffs  map[key]cutoff // of subjects, and of everything with an empty id
	pruned   uint64         // the largest pruned_through ever seen
}

type cutoff struct{ issuedUntil, lapsesAt uint64 }

// extend adds the entries of a page, and removes those of which the node says that they have lapsed.
func (x *index) extend(p *page) {
	for _, e := range *p.Entries {
		k := key{kind: *e.Kind, issuer: *e.Issuer}
		if e.ID != nil {
			k.id = *e.ID
		}
		switch k.kind {
		case "token", "session":
			x.lapsesAt[k] = max(x.lapsesAt[k], *e.LapsesAt)
		case "subject", "everything":
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
	for k, c := range x.cutoffs {
		if c.lapsesAt <= x.pruned {
			delete(x.cutoffs, k)
		}
	}
}

func (x *index) check(c *Claims) Verdict {
	for _, k := range []key{{"token", c.Issuer, c.ID}, {"session", c.Issuer, c.Session}} {
		if _, known := x.lapsesAt[k]; known {
			return Revoked
		}
	}
	for _, k := range []key{{"subject", c.Issuer, c.Subject}, {"everything", c.Issuer, ""}} {
		if cut, known := x.cutoffs[k]; known && (c.IssuedAt == nil || *c.IssuedAt < float64(cut.issuedUntil+1)) {
			return Revoked
		}
	}
	if *c.ExpiresAt+120 <= float64(x.pruned) {
		return Invalid
	}
	return Accepted
}

func max(a, b uint64) uint64 {
	if a > b {
		return a
	}
	return b
}
