// Package follower follows the revocations of an Adieu node, as docs/feed.md describes.
package follower

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limits of docs/feed.md.
const (
	maxWait       = 30 * time.Second
	minRetryDelay = 20 * time.Millisecond
	maxRetryDelay = 500 * time.Millisecond
)

// Verdict is the answer to Check. Accept a token only if it is Accepted.
type Verdict string

const (
	Accepted Verdict = "accepted"
	Revoked  Verdict = "revoked"
	Invalid  Verdict = "invalid" // expired, or with a claim missing or invalid
	Stale    Verdict = "stale"   // the follower cannot know: answer 503 with Retry-After
)

// Config says which node to follow, and how old the knowledge may be on which a token is accepted.
type Config struct {
	URL, Client, Secret string
	MaxStaleness        time.Duration
}

// Follower keeps the revocations of a node in memory.
type Follower struct {
	config Config
	name   string
	client http.Client
	failed bool

	mu         sync.RWMutex
	index      index
	completeAt *time.Duration // on the clock of now; nil before the first complete page
}

// Follow starts to follow the node until the context is done. The follower is Stale until it has read the whole log.
func Follow(ctx context.Context, config Config) (*Follower, error) {
	if config.MaxStaleness < 100*time.Millisecond {
		return nil, errors.New("MaxStaleness is shorter than 100 ms")
	}
	name := make([]byte, 16)
	if _, err := rand.Read(name); err != nil {
		return nil, err
	}
	f := &Follower{
		config: config,
		name:   hex.EncodeToString(name),
		client: http.Client{
			// Without a proxy from the environment: the secret goes to the node alone.
			Transport:     &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		index: index{lapsesAt: map[key]uint64{}, cutoffs: map[key]cutoff{}, names: map[string]struct{}{}},
	}
	go f.run(ctx)
	return f, nil
}

// Check returns whether a token with these claims is accepted. It never contacts the node.
func (f *Follower) Check(claims *Claims) Verdict {
	if claims.Issuer == "" || claims.ID == "" || claims.ExpiresAt == nil {
		return Invalid
	}
	f.mu.RLock()
	defer f.mu.RUnlock()
	verdict := f.index.check(claims)
	if verdict == Accepted && (f.completeAt == nil || now()-*f.completeAt > f.config.MaxStaleness) {
		return Stale
	}
	return verdict
}

// TokenID returns the id by which a token without `jti` is revoked.
func TokenID(token string) string {
	if i := strings.LastIndexByte(token, '.'); i >= 0 {
		token = token[:i]
	}
	digest := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func (f *Follower) run(ctx context.Context) {
	after, wait, delay := "", time.Duration(0), minRetryDelay
	for ctx.Err() == nil {
		sentAt := now()
		p, err := f.read(ctx, after, wait)
		if err != nil {
			f.report(ctx, err)
			select {
			case <-ctx.Done():
			case <-time.After(delay):
			}
			wait = 0
			if delay *= 2; delay > maxRetryDelay {
				delay = maxRetryDelay
			}
			continue
		}
		f.report(ctx, nil)
		if after != "" && p.fromStart {
			log.Printf("adieu: another log, or one that went back: reading %q from the start", p.cursor)
		}
		f.apply(p, sentAt)
		after, wait, delay = p.cursor, 0, minRetryDelay
		if p.complete {
			if wait = f.config.MaxStaleness / 4; wait > maxWait {
				wait = maxWait
			}
		}
	}
}

// report logs the beginning and the end of an outage, once each.
func (f *Follower) report(ctx context.Context, err error) {
	if err != nil && !f.failed && ctx.Err() == nil {
		log.Printf("adieu: cannot read revocations: %v", err)
	} else if err == nil && f.failed {
		log.Print("adieu: reading revocations again")
	}
	f.failed = err != nil
}

func (f *Follower) apply(p *page, sentAt time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index.extend(p)
	if !p.complete || p.ageMs > uint64(f.config.MaxStaleness.Milliseconds()) {
		return
	}
	completeAt := sentAt - time.Duration(p.ageMs)*time.Millisecond
	if f.completeAt == nil || completeAt > *f.completeAt {
		f.completeAt = &completeAt
	}
}

// read requests a page. It gives up in time for another request within the bound.
func (f *Follower) read(ctx context.Context, after string, wait time.Duration) (*page, error) {
	patience := f.config.MaxStaleness / 4
	if patience < 500*time.Millisecond {
		patience = 500 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, wait+patience)
	defer cancel()
	// Rounded up: the node must not take the bound for a shorter one.
	bound := (f.config.MaxStaleness + time.Millisecond - 1) / time.Millisecond
	query := url.Values{
		"wait":          {strconv.FormatInt(wait.Milliseconds(), 10)},
		"follower":      {f.name},
		"max_staleness": {strconv.FormatInt(int64(bound), 10)},
	}
	if after != "" {
		query.Set("after", after)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(f.config.URL, "/")+"/revocations?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(f.config.Client, f.config.Secret)
	request.Header.Set("Accept", "application/json")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	// The limit is for the body after decompression.
	body, err := io.ReadAll(io.LimitReader(response.Body, maxPageBytes+1))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the node responded %s", response.Status)
	}
	if len(body) > maxPageBytes {
		return nil, errors.New("the page is too long")
	}
	return parsePage(body, after)
}
