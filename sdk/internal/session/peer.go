// Package session is the user function's side of one stream of the inverted protocol: a state machine that takes a
// message and answers it. It starts no goroutine and knows no transport, so the server, the test kit and the transcripts
// all run the same one.
package session

// The protocol's version, and the extensions that this SDK understands.
const (
	Major = 0
	Minor = 2
)

// Extensions returns the names of the extensions that this SDK understands. "pipeline" says that commands may be sent
// before the answers to earlier ones have come: a session reads and answers them one by one anyway.
func Extensions() []string {
	return []string{"codes", "metadata", "sequence", "idempotency", "events", "json", "targets", "pipeline", "delayed"}
}

// Peer is what the other side announced. Extension fields are sent only to a peer that understands them.
type Peer struct {
	Codes, Events, JSON, Targets, Delayed bool
	// Announced is whether it knows of extensions at all.
	Announced bool
}

// PeerOf reads an announcement.
func PeerOf(extensions []string) Peer {
	p := Peer{Announced: len(extensions) > 0}
	for _, e := range extensions {
		switch e {
		case "codes":
			p.Codes = true
		case "events":
			p.Events = true
		case "json":
			p.JSON = true
		case "targets":
			p.Targets = true
		case "delayed":
			p.Delayed = true
		}
	}
	return p
}
