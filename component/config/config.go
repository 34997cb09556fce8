package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"reflect"
	"time"
)

// Config is what the component runs with. Resolve makes a valid one; Default is the one without any setting given. What
// the fields mean stands in Settings, under the field's name in camel case.
type Config struct {
	UserFunction string
	Journal      Journal
	AppID        string
	Host         Host
	// ActorTypes renames: full name of a service to the name of its actor type.
	ActorTypes map[string]string

	DaprGRPCEndpoint string
	DaprAPIToken     Secret

	CommandTimeout time.Duration
	IdleTimeout    time.Duration
	DrainTimeout   time.Duration
	GracePeriod    time.Duration
	LeaseTimeout   time.Duration

	Reads       Reads
	MaxResident int
	MaxQueue    int
	MaxInFlight int
	MaxEvents   int
	MaxEffects  int
	MaxHops     int
	MaxTries    int
	// The sizes are in bytes.
	MaxBytes    int64
	MaxMessage  int64
	MaxMetadata int64
	MaxReply    int64

	// Pubsub component of topics.
	Pubsub string
	// Replication of replicated entities. Resolve makes the transport auto one of the others.
	Replication Replication
	// PeerAddress is empty if there is to be none.
	PeerAddress string
	PeerKey     Secret
	SlotTimeout time.Duration
	// CRDT are the replicated keys of the state store, those with the longest prefix first.
	CRDT []CRDTKeys

	// GatewayAddress is empty if there is to be none.
	GatewayAddress string
	GatewayOrigins string

	// AppPort is the address of the app channel, empty if the sidecar is dialled. Upstream is nil if there is no app behind it.
	AppPort     string
	Upstream    *url.URL
	AppAPIToken Secret

	// AdminAddress is empty if there is to be none.
	AdminAddress string
	Pprof        bool
	LogLevel     slog.Level
	LogFormat    string

	// Services of an input binding; there may be wildcards among them.
	Services []string
	// TopicRetention is how long messages are kept, 0 for ever.
	TopicRetention time.Duration
	// ConsumerID of a pub/sub component or input binding, empty if the sidecar gave none.
	ConsumerID string
	// From where a consumer begins that is new.
	From          From
	MaxDeliveries int
	MaxUnacked    int
	AckTimeout    time.Duration
	OnRestart     OnRestart

	// InitFile says whether the last Init is kept.
	InitFile bool

	SocketFolder string
	SocketName   string
	SocketMode   fs.FileMode
}

// Host says whether entities are hosted here.
type Host string

// The values of Host.
const (
	// HostAuto hosts once a user function has been discovered.
	HostAuto Host = "auto"
	// HostAlways is not ready without a user function.
	HostAlways Host = "true"
	// HostNever looks for none.
	HostNever Host = "false"
)

// Reads says how sure an answer that wrote nothing has to be.
type Reads string

// The values of Reads.
const (
	// Checked reads confirm with the journal that the entity had not moved on elsewhere.
	Checked Reads = "checked"
	// Cached reads answer from memory.
	Cached Reads = "cached"
)

// From says where a consumer begins that is new.
type From string

// The values of From.
const (
	FromBeginning From = "beginning"
	FromNow       From = "now"
)

// OnRestart says what is done about subscriptions that a restart of the component has ended.
type OnRestart string

// The values of OnRestart.
const (
	// OnRestartLog tells an operator.
	OnRestartLog OnRestart = "log"
	// OnRestartSidecar shuts the sidecar down, so that whoever supervises it starts it again.
	OnRestartSidecar OnRestart = "restartSidecar"
)

// Default is the configuration of a state.entities component without metadata.
func Default() Config {
	c, err := Resolve(State)
	if err != nil {
		panic(fmt.Sprintf("the defaults are not valid: %v", err))
	}
	return c
}

// FromMetadata makes the configuration of a state.entities component from its metadata alone. The error joins all
// problems; its text holds no secret.
func FromMetadata(metadata map[string]string) (Config, error) { return Resolve(State, metadata) }

// Equal reports whether both configurations are the same.
func (c Config) Equal(o Config) bool { return reflect.DeepEqual(c, o) }

// validate checks what no setting can check alone.
func (c *Config) validate() error {
	var problems []error
	if c.DrainTimeout > c.GracePeriod {
		problems = append(problems, fmt.Errorf("drainTimeout (%s) is longer than gracePeriod (%s), in which draining has to end",
			c.DrainTimeout, c.GracePeriod))
	}
	if c.MaxReply > c.MaxBytes || c.MaxMessage > c.MaxBytes {
		problems = append(problems, fmt.Errorf("maxBytes (%d) has no room for one message of maxMessage (%d) or maxReply (%d)",
			c.MaxBytes, c.MaxMessage, c.MaxReply))
	}
	if c.Upstream != nil && c.AppPort == "" {
		problems = append(problems, errors.New("upstream is given without appPort, at which the sidecar would find it"))
	}
	if err := c.resolveReplication(); err != nil {
		problems = append(problems, err)
	}
	names := map[string]string{}
	for _, service := range sortedKeys(c.ActorTypes) {
		name := c.ActorTypes[service]
		if other, ok := names[name]; ok {
			problems = append(problems, fmt.Errorf("actorType.%s and actorType.%s both say %q; an actor type is one service",
				other, service, name))
		}
		names[name] = service
	}
	return errors.Join(problems...)
}
