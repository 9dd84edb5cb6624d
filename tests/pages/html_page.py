"""Reads a page as a browser does, for the tests of pages."""

from html.parser import HTMLParser
import json


class Page(HTMLParser):
  """A page that was read.

  Attributes:
    elements: (name, {attribute: value}) of all elements.
    texts: all texts.
    figures: [(data-key, value)] of all exact figures.
    lines: {name: [[x, y], ...]} of all curves.
  """

  def __init__(self, text):
    super().__init__()
    self.elements, self.texts, self.figures, self.lines = [], [], [], {}
    self.text = text
    self.feed(text)

  def handle_starttag(self, name, attributes):
    attributes = dict(attributes)
    self.elements.append((name, attributes))
    if name == 'data':
      self.figures.append((attributes.get('data-key'), float(attributes['value'])))
    if 'data-values' in attributes:
      self.lines[attributes['data-name']] = json.loads(attributes['data-values'])

  def handle_data(self, data):
    self.texts.append(data)

  def named(self, name):
    return [attributes for element, attributes in self.elements if element == name]

  def says(self, text):
    """Whether the text stands on the page, across elements, too."""
    return text in ''.join(self.texts)

  def chapters(self):
    return [attributes['id'] for attributes in self.named('section')]

  def runs_nothing(self):
    """Whether there is neither a script, nor a handler, nor an address elsewhere."""
    return not any(
        name in ('script', 'iframe', 'object', 'form') or any(
            key.startswith('on') or (key in ('src', 'href') and not
                                     value.startswith(('data:', '#')))
            for key, value in attributes.items())
        for name, attributes in self.elements)


MARKUP = '<script>alert("1")</script>&\'x'
