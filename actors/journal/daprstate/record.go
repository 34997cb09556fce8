package daprstate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	mathrand "math/rand/v2"
	"slices"
	"time"
)

// record is what a key that is compared holds. It says which changes were the last ones, so that whoever does not know
// what became of his own can look it up.
type record struct {
	key, etag string
	// version counts the changes. 0 if there is no such record.
	version int64
	// tokens of the last changes, the newest last. Each is a random number of whoever made the change.
	tokens []string
	body   []byte
}

const (
	recordV1   = 1
	tokenBytes = 8
	tokens     = 32 // how many changes a record remembers
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode is the record that follows r, with body.
func (r *record) encode(token string, body []byte) []byte {
	e := encoder{make([]byte, 0, len(body)+tokenBytes*(tokens+1)+16)}
	e.raw([]byte{recordV1})
	e.number(r.version + 1)
	kept := r.tokens[max(0, len(r.tokens)-(tokens-1)):]
	e.count(len(kept) + 1)
	for _, t := range kept {
		e.raw([]byte(t))
	}
	e.raw([]byte(token))
	e.raw(body)
	e.fixed(crc32.Checksum(e.data, castagnoli))
	return e.data
}

// decodeRecord is the inverse of encode. An item that is not there is the zero record.
func decodeRecord(item Item) (record, error) {
	r := record{key: item.Key, etag: item.ETag}
	if item.ETag == "" {
		return r, nil
	}
	bad := fmt.Errorf("%w: %s; restore it from a backup", errDamaged, item.Key)
	n := len(item.Value) - 4
	if n < 0 {
		return r, bad
	}
	d := decoder{data: item.Value[n:]}
	if d.fixed() != crc32.Checksum(item.Value[:n], castagnoli) {
		return r, bad
	}
	d = decoder{data: item.Value[:n:n]}
	if v := d.take(1); v == nil || v[0] != recordV1 {
		return r, fmt.Errorf("%s was written by a newer version of the component; use that one", item.Key)
	}
	r.version = d.number()
	count := d.count()
	for range count {
		r.tokens = append(r.tokens, string(d.take(tokenBytes)))
	}
	if d.bad || r.version < 1 || count > tokens {
		return r, bad
	}
	r.body = d.data
	return r, nil
}

// errDoubt is the error of a change of which it is not known whether it was made, or still will be.
var errDoubt = errors.New("it is not known whether the state store made the change")

// errLost says that somebody else changed the record first, and that ours was certainly not made and never will be.
var errLost = errors.New("the record has been changed meanwhile")

func token() string {
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // never fails
	return string(b)
}

// tries of a save whose outcome is not clear.
const saveTries = 4

// save replaces r by one with body. The error is nil if that was done, it matches errLost if it certainly was not, and
// errDoubt otherwise. What the store says is not interpreted: the record is read back. The same save may be tried many
// times, for the ETag lets only one of them through.
func (j *Journal) save(ctx context.Context, r record, body []byte) error {
	mine := token()
	item := Item{Key: r.key, Value: r.encode(mine, body), ETag: r.etag}
	if len(item.Value) > maxRecordBytes {
		return fmt.Errorf("%w: %s would have %d bytes, at most %d are possible", ErrTooBig, r.key, len(item.Value), maxRecordBytes)
	}
	var err error
	for try := range saveTries {
		if try > 0 && !pause(ctx, try+2) {
			break
		}
		if err = j.store.Save(ctx, item); err == nil {
			return nil
		}
		verdict := j.readBack(ctx, r, mine)
		if verdict == nil || errors.Is(verdict, errLost) {
			return verdict
		}
		if !errors.Is(verdict, errUnchanged) {
			err = errors.Join(err, verdict)
		}
	}
	return fmt.Errorf("%w: %w", errDoubt, err)
}

// errUnchanged says that a save has not come through, but may still.
var errUnchanged = errors.New("unchanged")

// readBack finds out what became of the change with a token. It may outlive ctx by a moment: an answer is worth it.
func (j *Journal) readBack(ctx context.Context, r record, mine string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.config.Timeout)
	defer cancel()
	item, err := j.getOne(ctx, r.key)
	if err != nil {
		return err
	}
	if item.ETag == r.etag {
		return errUnchanged
	}
	now, err := decodeRecord(item)
	if err != nil {
		return err
	}
	// The change would have made version r.version+1; its token stands as far from the end as versions were made since.
	at := len(now.tokens) - 1 - int(now.version-(r.version+1))
	switch {
	case now.version <= r.version:
		return fmt.Errorf("%s is older than it was: the state store has lost what it acknowledged", r.key)
	case at < 0:
		return fmt.Errorf("%s has been changed %d times since", r.key, now.version-r.version)
	case now.tokens[at] == mine:
		return nil
	}
	return errLost
}

// pause waits a little, longer from try to try, and reports whether ctx lasted.
func pause(ctx context.Context, try int) bool {
	most := time.Millisecond << min(try, 7)
	t := time.NewTimer(most/4 + mathrand.N(most))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// errSame ends an update without a change.
var errSame = errors.New("nothing to change")

// update changes a record until nobody comes in between. Change gets the record as it is and returns the body that it is
// to have; its error ends the update, which is none if it is errSame.
func (j *Journal) update(ctx context.Context, key string, change func(r record) ([]byte, error)) error {
	for try := 0; ; try++ {
		if try > 0 && !pause(ctx, try) {
			return context.Cause(ctx)
		}
		item, err := j.getOne(ctx, key)
		if err != nil {
			return err
		}
		r, err := decodeRecord(item)
		if err != nil {
			return err
		}
		body, err := change(r)
		if errors.Is(err, errSame) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := j.save(ctx, r, slices.Clip(body)); !errors.Is(err, errLost) {
			return err
		}
	}
}

// maxRecordBytes is less than the 4 MiB that daprd and gRPC let pass.
const maxRecordBytes = 3 << 20
