package turn

import (
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
)

// declare carries out the options of a method.
func declare(m *def.Method, options []sdk.MethodOption) error {
	var problems []error
	for _, o := range options {
		if o == nil {
			problems = append(problems, errors.New("an option is nil"))
			continue
		}
		if err := o.Method(m); err != nil {
			problems = append(problems, err)
		}
	}
	source := m.Eventing.GetIn()
	switch {
	case source != nil && source.GetSource() == nil:
		problems = append(problems, fmt.Errorf("InGroup(%q) without FromLog or FromTopic", source.GetConsumerGroup()))
	case source.GetTopic() != "" && source.GetTopic() == m.Eventing.GetOut().GetTopic():
		problems = append(problems, fmt.Errorf("it takes from the topic %q and publishes to it, in a circle", source.GetTopic()))
	case source != nil && m.In == nil && !m.EventNamed:
		problems = append(problems, errors.New("the input is JSON: say with Event which events it takes"))
	case m.EventNamed && source == nil:
		problems = append(problems, fmt.Errorf("Event(%q) without FromLog or FromTopic", m.Input))
	}
	return errors.Join(problems...)
}
