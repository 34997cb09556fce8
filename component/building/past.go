package building

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/dapr/components-contrib/state"
	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// The metadata by which a Get asks for the past, and some that its answer has.
const (
	versionKey = "version"
	asOfKey    = "asOf"
	historyKey = "history"
	afterKey   = "after"
	limitKey   = "limit"
	timeKey    = "time"
	deletedKey = "deleted"
)

// clockSkew is how far in the future asOf may lie, for clients whose clock is fast; it is then taken for now.
const clockSkew = time.Minute

// question is what a Get asks for. The zero question is after the value that there is.
type question struct {
	version int64
	asOf    time.Time
	history bool
	// after and limit are the page of history.
	after int64
	limit int
}

func (q question) past() bool { return q != question{} }

// ask reads the question out of the metadata of a Get.
func ask(m map[string]string, now time.Time) (question, error) {
	var q question
	if len(m) == 0 {
		return q, nil
	}
	version, asOf, history := lookup(m, versionKey), lookup(m, asOfKey), lookup(m, historyKey)
	if history != "" && history != "true" && history != "false" {
		return q, actors.Errorf(actors.InvalidArgument, "the metadata %s is %q, want true or false", historyKey, cut(history))
	}
	q.history = history == "true"
	if version != "" && asOf != "" || q.history && (version != "" || asOf != "") {
		return q, actors.Errorf(actors.InvalidArgument, "the metadata has more than one of %s, %s and %s; ask for one", versionKey, asOfKey, historyKey)
	}
	var err error
	switch {
	case version != "":
		q.version, err = number(m, versionKey, 0, 1, math.MaxInt64)
	case asOf != "":
		q.asOf, err = moment(asOf, now)
	case q.history:
		if q.after, err = number(m, afterKey, 0, 0, math.MaxInt64); err != nil {
			return q, err
		}
		var limit int64
		limit, err = number(m, limitKey, defaultLimit, 1, maxLimit)
		q.limit = int(limit)
	}
	return q, err
}

func number(m map[string]string, key string, otherwise, least, most int64) (int64, error) {
	text := lookup(m, key)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, actors.Errorf(actors.InvalidArgument, "the metadata %s is %q, want a whole number from %d to %d", key, cut(text), least, most)
	}
	return n, nil
}

func moment(text string, now time.Time) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		return t, actors.Errorf(actors.InvalidArgument,
			"the metadata %s is %q, want a time such as 2006-01-02T15:04:05Z (RFC 3339; in a URL, + is written %%2B)", asOfKey, cut(text))
	case t.After(now.Add(clockSkew)):
		return t, actors.Errorf(actors.InvalidArgument, "the metadata %s is %s, which is still to come: it is %s here",
			asOfKey, t.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case t.After(now):
		t = now
	}
	return t, nil
}

// answer answers a question after the past, within limit bytes.
func (q question) answer(ctx context.Context, j Journal, key string, limit int64) (*components.GetResponse, error) {
	if q.history {
		return q.list(ctx, j, key, limit)
	}
	resp := &components.GetResponse{}
	var e journal.Event
	var err error
	if q.version > 0 {
		e, err = versionOf(ctx, j, key, q.version)
	} else {
		e, err = versionAt(ctx, j, key, q.asOf)
	}
	if err != nil || e.Sequence == 0 {
		return resp, journalError(fmt.Sprintf("read the past of %q", cut(key)), err)
	}
	resp.Metadata = map[string]string{versionKey: strconv.FormatInt(e.Sequence, 10), timeKey: e.Time.UTC().Format(time.RFC3339Nano)}
	// A version was what it was; at a moment it may have been expired.
	if e.Name == eventDeleted || q.version == 0 && !exists(e, q.asOf) {
		resp.Metadata[deletedKey] = "true"
		return resp, nil
	}
	fillValue(resp, e)
	return resp, nil
}

// fillValue puts the value into an answer.
func fillValue(resp *components.GetResponse, e journal.Event) {
	resp.Data, resp.Etag, resp.ContentType = e.Payload.Data, etagOf(e), e.Payload.ContentType
	if t := expiryOf(e); !t.IsZero() {
		if resp.Metadata == nil {
			resp.Metadata = map[string]string{}
		}
		resp.Metadata[state.GetRespMetaKeyTTLExpireTime] = t.UTC().Format(time.RFC3339)
	}
}

// versionOf returns the event that made a version.
func versionOf(ctx context.Context, j Journal, key string, version int64) (journal.Event, error) {
	for e, err := range j.Read(ctx, stateRef(key), version-1, 1) {
		if err == nil && e.Sequence != version {
			err = &journal.CorruptError{Ref: stateRef(key), Sequence: version, Reason: "it is missing"}
		}
		if errors.Is(err, journal.ErrForgotten) {
			break
		}
		return e, err
	}
	last, err := j.Last(ctx, []actors.Ref{stateRef(key)})
	switch {
	case err != nil:
		return journal.Event{}, err
	case version <= last[0].Sequence:
		return journal.Event{}, gone(ctx, j, key, fmt.Sprint("version ", version))
	case last[0].Sequence == 0:
		return journal.Event{}, actors.Errorf(actors.NotFound, "%q has no version %d: it was never set", cut(key), version)
	}
	return journal.Event{}, actors.Errorf(actors.NotFound, "%q has no version %d: the newest is %d", cut(key), version, last[0].Sequence)
}

// gone is the error for what is no longer kept of a key.
func gone(ctx context.Context, j Journal, key, what string) error {
	span, err := j.Span(ctx, stateRef(key))
	if err != nil {
		return err
	}
	if span.Floor == span.Sequence {
		return actors.Errorf(actors.OutOfRange, "%s of %q is no longer kept, nor is any other up to version %d", what, cut(key), span.Sequence)
	}
	return actors.Errorf(actors.OutOfRange, "%s of %q is no longer kept; the oldest that is kept is version %d", what, cut(key), span.Floor+1)
}

// versionAt returns the newest event at a moment, the zero Event if there was none yet. It looks at few events however
// many there are: their times go forward, as far as the journal's clock does.
func versionAt(ctx context.Context, j Journal, key string, at time.Time) (journal.Event, error) {
	last, err := j.Last(ctx, []actors.Ref{stateRef(key)})
	if err != nil {
		return journal.Event{}, err
	}
	found := last[0]
	if found.Name != "" && !found.Time.After(at) || found.Sequence == 0 {
		return found, nil
	}
	span, err := j.Span(ctx, stateRef(key))
	switch {
	case err != nil:
		return journal.Event{}, err
	case found.Name == "" && !at.Before(span.Updated): // nothing of it was kept by then, because it did not exist any more
		return journal.Event{}, nil
	}
	// The newest is after low and before high.
	low, high := span.Floor, found.Sequence
	found = journal.Event{}
	for high-low > 1 {
		middle := low + (high-low)/2
		e, err := versionOf(ctx, j, key, middle)
		switch {
		case err != nil:
			return journal.Event{}, err
		case e.Time.After(at):
			high = middle
		default:
			low, found = middle, e
		}
	}
	if found.Sequence == 0 && span.Floor > 0 {
		return journal.Event{}, gone(ctx, j, key, "the value at "+at.UTC().Format(time.RFC3339Nano))
	}
	return found, nil
}

// readKept reads events as j.Read does, beginning with the oldest that is kept.
func readKept(ctx context.Context, j Journal, ref actors.Ref, after int64, limit int) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		for again := true; again; {
			again = false
			for e, err := range j.Read(ctx, ref, after, limit) {
				if f, ok := errors.AsType[*journal.ForgottenError](err); ok && f.Floor > after {
					after, again = f.Floor, true
					break
				}
				if !yield(e, err) || err != nil {
					return
				}
				if after = e.Sequence; limit > 0 {
					if limit--; limit == 0 {
						return
					}
				}
			}
		}
	}
}

// versionJSON is a version in the answer to a question after the history.
type versionJSON struct {
	Version     int64     `json:"version"`
	Time        time.Time `json:"time"`
	Deleted     bool      `json:"deleted"`
	Size        int       `json:"size"`
	ContentType string    `json:"contentType,omitempty"`
	Expires     time.Time `json:"expires,omitzero"`
	AppID       string    `json:"appId,omitempty"`
	Traceparent string    `json:"traceparent,omitempty"`
}

// list answers with the versions after q.after that are kept, oldest first. Where there are more, the metadata next says
// after which.
func (q question) list(ctx context.Context, j Journal, key string, limit int64) (*components.GetResponse, error) {
	resp := &components.GetResponse{Data: []byte{'['}, ContentType: "application/json"}
	newest, listed := q.after, 0
	for e, err := range readKept(ctx, j, stateRef(key), q.after, q.limit+1) {
		if err != nil {
			return nil, journalError(fmt.Sprintf("read the history of %q", cut(key)), err)
		}
		item, err := json.Marshal(versionJSON{
			Version: e.Sequence, Time: e.Time.UTC(), Deleted: e.Name == eventDeleted, Size: len(e.Payload.Data),
			ContentType: e.Payload.ContentType, Expires: expiryOf(e), AppID: e.Context.Caller, Traceparent: e.Context.Traceparent,
		})
		if err != nil { // there is nothing in it that could not be JSON
			return nil, actors.Errorf(actors.Internal, "list version %d of %q: %w", e.Sequence, cut(key), err)
		}
		if listed == q.limit || listed > 0 && int64(len(resp.Data)+len(item)+overhead) > limit {
			resp.Metadata = map[string]string{nextKey: strconv.FormatInt(newest, 10)}
			break
		}
		if listed > 0 {
			resp.Data = append(resp.Data, ',')
		}
		resp.Data = append(resp.Data, item...)
		newest, listed = e.Sequence, listed+1
	}
	resp.Data = append(resp.Data, ']')
	return resp, nil
}
